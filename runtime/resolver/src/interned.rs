//! Interning with reference counts. Numbers are reused, but only after [`Interned::recycle`].

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Interned keys.
#[derive(Debug)]
pub(crate) struct Interned<K> {
    entries: Vec<Option<Entry<K>>>,
    numbers: FxHashMap<K, u32>,
    free: Vec<u32>,
    /// Released numbers that a concurrent reader of the tables may still use.
    left: Vec<u32>,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    uses: u32,
}

impl<K: Clone + Eq + Hash> Interned<K> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), numbers: FxHashMap::default(), free: Vec::new(), left: Vec::new() }
    }

    /// Interns a key or increments its reference count. Returns its number, and whether it is new.
    pub(crate) fn acquire(&mut self, key: &K) -> (u32, bool) {
        if let Some(number) = self.numbers.get(key) {
            if let Some(Some(entry)) = self.entries.get_mut(*number as usize) {
                entry.uses += 1;
            }
            return (*number, false);
        }
        let entry = Some(Entry { key: key.clone(), uses: 1 });
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.entries.get_mut(number as usize) {
                    *place = entry;
                }
                number
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.numbers.insert(key.clone(), number);
        (number, true)
    }

    /// Increments the reference count of a number that is in use.
    pub(crate) fn acquire_known(&mut self, number: u32) {
        if let Some(Some(entry)) = self.entries.get_mut(number as usize) {
            entry.uses += 1;
        }
    }

    /// Decrements the reference count of a number. Returns true, and removes the key, if the count is now 0.
    pub(crate) fn release(&mut self, number: u32) -> bool {
        let Some(place) = self.entries.get_mut(number as usize) else { return false };
        let Some(entry) = place else { return false };
        entry.uses -= 1;
        if entry.uses > 0 {
            return false;
        }
        self.numbers.remove(&entry.key);
        *place = None;
        self.left.push(number);
        true
    }

    /// Makes released numbers available again. Call it only when no reader can use them any more.
    pub(crate) fn recycle(&mut self) {
        self.free.append(&mut self.left);
    }

    pub(crate) fn get(&self, number: u32) -> Option<&K> {
        self.entries.get(number as usize)?.as_ref().map(|entry| &entry.key)
    }

    /// Iterates over the numbers and keys in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        (0..).zip(&self.entries).filter_map(|(number, entry)| Some((number, &entry.as_ref()?.key)))
    }

    /// One more than the highest number that was ever in use.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
