//! The step protocol in real shells: what a server does with the text that `Steps` sends.

mod bench;

mod cancel;
mod disk;
mod ends;
mod gc;
mod hello;
mod host;
mod hostile;
mod kills;
mod lane;
mod lost;
mod once;
mod outputs;
mod probe;
mod pump;
mod secrets;
mod shells;
mod upgrade;
