"""Whether fusing works on this machine, with what, and what is missing for the rest."""
