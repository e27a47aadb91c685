"""FRR: observed, compared and converged; the only caller of vtysh and frr-reload."""
