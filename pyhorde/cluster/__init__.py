"""Who is there and what they know: membership, links, replication, placement, transport."""
