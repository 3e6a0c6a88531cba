"""Whether fusing works on this machine, with what, and what optional features lack."""
