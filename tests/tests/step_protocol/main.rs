//! The step protocol in real shells: what a server does with the text that `Steps` sends.

mod bench;
mod ends;
