"""From the box's store to the centre: how a batch travels, and who sends it."""
