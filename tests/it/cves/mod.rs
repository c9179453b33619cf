mod audit;
mod auth;
mod policy;
mod rate;
mod tls;
