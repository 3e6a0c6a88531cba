"""Writers: EXR, Radiance HDR, TIFF, previews and heatmaps, all atomic."""
