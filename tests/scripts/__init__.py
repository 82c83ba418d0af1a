"""The AGI scripts, asked over FastAGI as a PBX asks them."""
