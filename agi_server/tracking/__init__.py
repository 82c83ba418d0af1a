"""From the events of a PBX to one record per conversation; no wire, no storage."""
