"""The HTTP side. Importing it takes a third of a second: nothing outside imports it before the PBX is served."""
