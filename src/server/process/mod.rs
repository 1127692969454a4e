//! A supervised child process with a framed two-way pipe.
