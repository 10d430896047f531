//! Tests of the scanner, the hostile ones included.

use super::*;
