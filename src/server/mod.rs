//! Layer 3: the library's face.


