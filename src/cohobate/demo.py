"""`cohobate demo`: a few digits, a network trained plainly and one that teaches itself."""



METHODS = ("supervised", "mixskd")
