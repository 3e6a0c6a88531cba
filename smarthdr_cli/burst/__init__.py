"""Files to Burst: reading, RAW, EXIF, exposures and their check. Knows no torch."""
