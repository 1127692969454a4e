//! What one image of the program hands over to the next is understood, also by later versions.

mod golden;
