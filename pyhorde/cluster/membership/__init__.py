"""Who is there: SWIM with Lifeguard's local health, joining and dialling."""
