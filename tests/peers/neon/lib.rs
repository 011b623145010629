//! The modules of evalkit that have instructions of ARM in them, at the paths that they expect.
#![allow(dead_code, unused_imports)]

#[path = "../../../src/escape/mod.rs"]
mod escape;

#[path = "../../../src/error.rs"]
mod error;

#[path = "."]
mod quantize {
    #[path = "../../../src/quantize/bitpack.rs"]
    pub mod bitpack;
}

#[path = "."]
mod package {
    #[path = "."]
    pub mod constexpr {
        #[path = "../../../src/package/constexpr/lookup.rs"]
        mod lookup;
        #[path = "../../../src/package/constexpr/planes.rs"]
        mod planes;

        pub(crate) use self::planes::Planes;
    }

    #[path = "."]
    mod execute {
        #[path = "."]
        mod multiply {
            const LANES: usize = 32;

            #[path = "../../../src/package/execute/multiply/neon.rs"]
            mod neon;
            #[path = "../../../src/package/execute/multiply/registers.rs"]
            mod registers;
        }
    }
}
