"""Which frames belong to one bracket, and why: headers, streams, evidence, segmentation. Decodes only in doubt."""
