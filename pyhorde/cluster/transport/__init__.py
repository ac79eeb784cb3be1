"""What travels between nodes: links, framing, handshake, HTTP upgrade, datagrams, codec."""
