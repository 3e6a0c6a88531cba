"""Writers of a fusion result: OpenEXR, Radiance HDR, float TIFF, previews and heatmaps."""
