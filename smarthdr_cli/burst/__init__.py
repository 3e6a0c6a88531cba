"""Files to a Burst: decoding, RAW, EXIF, exposures, reference frame. Without torch."""
