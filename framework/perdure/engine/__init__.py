"""The owner's turn: read → fold → decide → append → read back → act."""
