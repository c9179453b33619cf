//! What is answered before its body was read: the answer arrives, and the connection is kept, or its end announced.

mod bodies;
mod kept;
mod push;
mod service;
mod support;
