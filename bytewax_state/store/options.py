"""How RocksDB is set up for a table, and the memory that all tables of a process share.

Owns every option of RocksDB that is not its default, each with its reason, and the budget of block cache and memtables.
It does not open anything. Called by `table`, and by whoever opens tables, for the `Memory` to pass.
"""

from threading import Lock
from typing import ClassVar
from weakref import WeakValueDictionary

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompactionStyle,
    DBCompressionType,
    Options,
    UniversalCompactOptions,
    WriteBufferManager,
    WriteOptions,
)

KIB = 1024
MIB = 1024 * KIB

SST_BYTES = 64 * MIB
"""How large a file becomes before the next one is begun."""

RUNS = 20
"""How many sorted runs a table may have before some of them are merged."""


class Memory:
    """One budget for the block cache and the memtables of all tables of a process.

    Memtables are charged to the block cache, and so are indices and filters; what they leave of the budget caches
    blocks.
    """

    __slots__ = ("__weakref__", "cache", "memtables", "nbytes")

    _lock: ClassVar[Lock] = Lock()
    _known: ClassVar["WeakValueDictionary[int, Memory]"] = WeakValueDictionary()

    def __init__(self, nbytes: int) -> None:
        """Init."""
        self.nbytes = nbytes
        self.cache = Cache(nbytes)
        self.memtables = WriteBufferManager.new_write_buffer_manager_with_cache(nbytes // 2, False, self.cache)

    @classmethod
    def of(cls, nbytes: int) -> "Memory":
        """Return the budget of this size, the same one for as long as anything in the process uses it.

        :returns: Budget, to be passed to every table.

        """
        with cls._lock:
            memory = cls._known.get(nbytes)
            if memory is None:
                memory = cls._known[nbytes] = cls(nbytes)
            return memory


def table_options(memory: Memory, create: bool, files: int) -> Options:
    """Set up a table.

    :arg memory: Budget to live on.

    :arg create: Whether to make a new table, rather than open one that exists.

    :arg files: How many files of rows to keep open.

    :returns: Options, for the database and for its only column family.

    """
    options = Options(raw_mode=True)
    options.create_if_missing(create)
    options.set_error_if_exists(create)
    options.set_write_buffer_manager(memory.memtables)
    options.set_write_buffer_size(max(64 * KIB, min(SST_BYTES, memory.nbytes // 8)))
    options.set_block_based_table_factory(_blocks(memory))
    # RocksDB sets ten aside for files that are not of rows.
    options.set_max_open_files(files + 10)
    # Each shard of the cache of open files has room for one at least, and there are 64 unless told otherwise.
    options.set_table_cache_num_shard_bits(0)
    options.set_max_background_jobs(2)
    _keep_small(options)
    _compact(options)
    return options


def sst_options() -> Options:
    """Set up a file that is written outside of a table and then ingested."""
    options = Options(raw_mode=True)
    blocks = BlockBasedOptions()
    _lay_out(blocks)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(DBCompressionType.lz4())
    return options


def write_options() -> WriteOptions:
    """Set up writes: without a write-ahead log, since only a checkpoint counts."""
    options = WriteOptions()
    # An attribute, whatever the stubs of rocksdict say.
    options.disable_wal = True  # type: ignore[method-assign, assignment]
    return options


def _blocks(memory: Memory) -> BlockBasedOptions:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    # Indices and filters count against the budget, those of the runs that every read asks stay.
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    _lay_out(blocks)
    return blocks


def _lay_out(blocks: BlockBasedOptions) -> None:
    blocks.set_block_size(4 * KIB)
    # One in a thousand positives is false: a read asks about one run of the many that universal compaction keeps.
    blocks.set_bloom_filter(14, False)
    blocks.set_format_version(5)


def _keep_small(options: Options) -> None:
    """Bound what is not rows: the manifest is part of every snapshot, and nobody reads the log."""
    # A manifest is a log of all changes to the set of files. Behind the bound RocksDB begins a new one, which names the
    # files that there are: that takes no longer than to snapshot one that has grown.
    options.set_max_manifest_file_size(2 * KIB)
    options.set_manifest_preallocation_size(4 * KIB)
    options.set_keep_log_file_num(1)
    options.set_max_log_file_size(MIB)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)


def _compact(options: Options) -> None:
    """Rewrite as few bytes as possible: every file that a compaction makes has to be uploaded."""
    options.set_compression_type(DBCompressionType.lz4())
    options.set_compaction_style(DBCompactionStyle.universal())
    options.set_level_zero_file_num_compaction_trigger(RUNS)
    # Far above the trigger: two background jobs catch up without stopping a worker.
    options.set_level_zero_slowdown_writes_trigger(4 * RUNS)
    options.set_level_zero_stop_writes_trigger(6 * RUNS)
    options.set_target_file_size_base(SST_BYTES)
    universal = UniversalCompactOptions()
    # The runs of an epoch each are of about one size, and merged together once there are as many as may be.
    universal.size_ratio = 20
    # A file of rows that were overwritten is paid for, and fetched at a restart, like any other.
    universal.max_size_amplification_percent = 80
    options.set_universal_compaction_options(universal)
