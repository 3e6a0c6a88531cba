"""The rebuilt fusion of docs/fusion-design.md, in progress: physics where the frames agree, the network where not.

Not yet part of the package; it lands in ``smarthdr_cli/fusion`` module by module. It needs numba, which is no
dependency yet: ``pip install numba``. ``run.py`` measures it beside the fusion of the package.

A registered burst passes the modules in this order; ``fuse.py`` is the entry and calls them:

1. ``motion.py``: coarse optical flow of every frame on cells of 4x4 pixels.
2. ``samples.py``: one draw of patches, from which everything is fitted that is fitted once per burst:
   ``noise_model.py``, then per pair of frames ``photometric.py`` and the spreads and residue of ``consistency.py``.
3. ``motion.py`` again: the flow is taken where the test of ``consistency.py`` agrees with it;
   ``motion_refinement.py``: the finest levels in blocks that still differ.
4. ``physical_merge.py``: the merge and its sigma, window by window, on the compiled loops of ``pixel_kernel.py``;
   ``feathering.py``: where another frame ends inside the picture.
5. ``blocks.py``: where the frames are at odds, and the windows that cover it.
6. ``fuse.py``: the network in those windows, bounded by what the frames show, faded into the merge.
"""
