mod differential;
mod route;
