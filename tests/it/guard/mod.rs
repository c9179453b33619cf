mod advice;
mod config;
mod digests;
