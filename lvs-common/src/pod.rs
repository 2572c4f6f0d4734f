//! The one door through which a type becomes shared between kernel and user space.

/// Declares a `#[repr(C)]` type of exactly `size` bytes that both sides use as a map key or value.
///
/// `IntoBytes` refuses padding, `FromBytes` refuses `bool`, `enum` and `Option`, and the assertion pins
/// the size: a layout mistake does not compile.
macro_rules! shared_pod {
    ($(#[$meta:meta])* pub struct $name:ident [$size:expr] { $($body:tt)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub struct $name { $($body)* }

        const _: () = assert!(core::mem::size_of::<$name>() == $size);

        // SAFETY: the derives above prove that every byte pattern is valid and that no byte is padding.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}
