"""Small programs that show pyhorde at work; read ``counter.py`` first, then ``meeting.py``."""
