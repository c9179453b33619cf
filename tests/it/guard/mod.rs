mod advice;
mod client_warnings;
mod config;
mod digests;
mod nested;
mod own;
mod wiring;
