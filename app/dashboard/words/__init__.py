"""What is said about each picture: a sentence with its formula and source, and captions that follow the state."""
