//! Memory for tiles: one piece for all of a sheet, in large pages where the kernel has them, for a nation's index is read
//! at random and pages of 4 KiB are more than a processor knows the places of.

use memmap2::MmapMut;

/// A large page.
const PAGE: usize = 2 << 20;
/// Smaller pieces hold no large page for sure.
const LARGE: usize = 2 * PAGE;

/// Immutable words.
#[derive(Debug)]
pub(super) enum Words {
    Few(Box<[u32]>),
    /// Fresh pages of the kernel's: it gives large ones only where nothing was written yet.
    Many(MmapMut),
}

impl Words {
    /// Copies them; and where they begin.
    pub(super) fn of(words: &[u32]) -> (Self, u32) {
        let size = size_of_val(words);
        let mapped = (size >= LARGE && !cfg!(miri)).then(|| MmapMut::map_anon(size + PAGE));
        let Some(Ok(mut map)) = mapped else { return (Self::Few(words.into()), 0) };
        #[cfg(target_os = "linux")]
        // That the kernel cannot is no error.
        drop(map.advise(memmap2::Advice::HugePage));
        // What lies before the first large page is never touched, and so is no memory.
        let from = map.as_ptr().align_offset(PAGE);
        bytemuck::cast_slice_mut(&mut map[from..from + size]).copy_from_slice(words);
        (Self::Many(map), u32::try_from(from / size_of::<u32>()).unwrap_or(0))
    }

    #[inline]
    pub(super) fn all(&self) -> &[u32] {
        match self {
            Self::Few(words) => words,
            Self::Many(map) => bytemuck::cast_slice(map),
        }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Few(words) => size_of_val(&**words),
            Self::Many(map) => map.len() - PAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_words_begin_with_a_large_page_and_are_what_they_were() {
        for count in [1, 1000, LARGE / 4, LARGE / 4 + 12_345] {
            let written: Vec<u32> = (0..).take(count).collect();
            let (words, from) = Words::of(&written);
            let read = &words.all()[from as usize..][..count];
            assert_eq!((read, words.bytes()), (&written[..], count * 4));
            let mapped = count * 4 >= LARGE && !cfg!(miri);
            assert!(!mapped || (matches!(words, Words::Many(_)) && read.as_ptr().align_offset(PAGE) == 0));
        }
    }
}
