//! Claims about the chat as a whole.
