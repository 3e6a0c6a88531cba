"""Which frames belong to one bracket, and why: headers, camera streams, evidence, segmentation. Decodes only in doubt."""
