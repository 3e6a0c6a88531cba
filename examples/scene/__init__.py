"""The scene of the example burst: a room with a window, modelled and path-traced with Mitsuba."""
