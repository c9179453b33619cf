mod config;
mod credentials;
mod identify;
mod jwt;
mod jwt_fetch;
mod layer;
mod rotation;
