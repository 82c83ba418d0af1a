"""What happens, told to whoever listens: browsers and programs over HTTP, everything else by MQTT."""
