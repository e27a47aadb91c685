"""The three things a box converges: kernel, FRR, tracers. Planes know no spec kinds and not each other."""
