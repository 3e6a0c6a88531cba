"""A whole shoot: every bracket fused once, recorded, and continued where an earlier run ended."""
