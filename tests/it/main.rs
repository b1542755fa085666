//! Behaviour, through the real server and a real client.

mod frame;
