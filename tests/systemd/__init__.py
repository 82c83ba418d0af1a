"""The units, checked by systemd itself."""
