//! Graph passes and their manager.
