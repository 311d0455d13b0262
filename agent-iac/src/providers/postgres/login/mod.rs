//! Logins: made, tried and ended.
//!
//! Owns what a login is called, what is delivered of it, and how it ends. It
//! knows nothing of grants.

mod secret;
