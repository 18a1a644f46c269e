//! In what pages a process gets its memory. Never decides how much.
#![expect(unsafe_code, reason = "the choice is a C function")]

/// Has the kernel give this process memory in small pages, also where it would choose huge ones. Buffers come and go here in all
/// sizes: of a huge page the first byte that is used costs two megabytes that must be cleared, and stay. A kernel that knows no
/// such choice has none to make.
pub fn use_small_pages() {
    // SAFETY: the call reads no memory, and changes nothing but how later page faults are served.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}
