//! Tests of gatepost from outside its modules.

mod rooms;
