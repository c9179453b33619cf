mod advice;
mod config;
mod digests;
mod nested;
mod own;
mod wiring;
