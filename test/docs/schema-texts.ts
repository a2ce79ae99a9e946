/**
 * What the tables, views, sequences and functions of the database are for, and what columns mean whose names do not say
 * it. test/docs/schema-page.ts throws if a table or function has no text here, or a text names nothing that exists.
 */
interface TableText {
  readonly text: string;
  readonly columns?: Readonly<Record<string, string>>;
}

const CLIENT = {
  accessed_at: 'when it was requested',
  accessed_by: 'address or name of the client, as far as the settings keep it',
  country: 'country of the client, ISO 3166',
  arch: "the client's architecture, and so on: what its User-Agent says; null: it doesn't say",
};

export const TABLES: Readonly<Record<string, TableText>> = {
  builds: {
    text: 'Every build that has ended, one row for each attempt.',
    columns: {
      lease: 'the lease under which it was made, so that no result is logged twice; null: an import',
      slave_id: 'the session of the slave; null: an import',
      status: 'whether it succeeded',
      failure_class: 'class of the failure; null: it succeeded',
      output: 'the log',
      transient: 'the failure is retried, and does not count as an attempt',
      reason: 'why it failed, in a sentence',
      remark: 'what is unusual about a success',
      provenance: 'what it was made from and with: see [Provenance](protocols/types.md#provenance)',
      requeue_reason:
        'why the failure does not count any longer: see [RequeueReason](protocols/types.md#requeuereason); null: it counts',
    },
  },
  configuration: {
    text: 'The version of the schema. One row.',
    columns: { schema_version: 'number of the newest migration in [sql/](../sql)' },
  },
  download_days: { text: 'Downloads by package and day, in UTC. They stay when files are deleted.' },
  download_hours: { text: 'Downloads of the whole farm by hour, in UTC. They stay for good.' },
  downloads: {
    text: 'Every download, partitioned by month. There is no foreign key: whoever deletes files deletes their downloads.',
    columns: CLIENT,
  },
  feed: {
    text: 'How far the index has been followed. One row.',
    columns: {
      serial: 'all events up to this serial have been applied',
      read_serial: 'highest serial that was read; those between the two had not settled',
      cut_time: 'time of the newest event that was applied in order, seconds since 1970',
      cut_serial: 'serial of that event',
      compared: "when everything was last compared with the index's root",
      held: 'how many packages would be removed at once, and wait for an approval; null: none wait',
      accepted: 'how many packages an administrator has allowed to be removed at once',
      last_event: 'when the index last sent something new',
    },
  },
  fences: {
    text: 'The highest revision that was seen of the lease of each single. A request with a lower one is refused: it comes from a process that has been replaced.',
  },
  file_removals: {
    text: 'Files that are not listed any longer, and may still be under the output path until Mr Chase has removed them.',
    columns: { unlisted_at: 'when they were listed last' },
  },
  figure_changes: {
    text: 'Changes to figures that are not summed up yet. Every transaction adds rows of its own, so that none waits for another.',
    columns: {
      target_id: '0: it is about no target',
      at: 'the minute (builds) or hour (downloads), for figures with a history',
    },
  },
  figures: {
    text: 'The sums of the changes that were summed up, of the whole farm or of a target. Those of builds and downloads include what was deleted since.',
    columns: { target_id: '0: it is about no target' },
  },
  file_downloads: { text: 'Downloads by file. They go with the file.' },
  files: {
    text: 'The published wheels.',
    columns: {
      build_id: 'the build that made it; null: it was deleted',
      metadata_sha256: 'SHA-256 of the METADATA that is published beside it',
      requires_python: 'Requires-Python; null: any Python',
      dependencies: 'system packages that it needs: see [Dependencies](protocols/types.md#dependencies)',
      core_metadata:
        'what its METADATA says: see [CoreMetadata](protocols/types.md#coremetadata); null: it was published by an older piw',
    },
  },
  history: {
    text: 'The same figures by minute, hour, day and month, in UTC. Minutes are kept for two days, hours for 400 days, the others for good.',
    columns: { step: '`minute`, `hour`, `day` or `month`', began: 'when that began' },
  },
  installation: {
    text: 'The identity of the farm, by which two farms notice that they share a database or a prefix on NATS. One row.',
    columns: {
      name: 'host on which the tables were created',
      holder: 'NATS servers and prefix of the farm that uses the database; null: none does',
      holder_host: 'host and process of a part of that farm',
      heartbeat: 'grows every few seconds while the farm is used; compared with itself, never with a clock',
    },
  },
  listed_packages: {
    text: 'The packages that the root of the simple index lists, each with the serial of its page on the disk.',
  },
  logs: {
    text: 'The logs of web servers that are counted, and how far. They are updated in the transaction that stores the entries, so that nothing is counted twice.',
    columns: {
      head: 'digest of what the log begins with',
      upto: 'bytes that have been counted',
      mark: 'digest of the last bytes before that',
      seen: 'when it was last read',
    },
  },
  month_summed: {
    text: 'When the downloads of the last 30 days were last summed up, and how long that took. One row.',
  },
  package_files: { text: 'How many files each package has; a package without files has no row.' },
  package_month: { text: 'Downloads by package in the last 30 days, as of `month_summed`.' },
  packages: {
    text: 'The packages that the farm knows.',
    columns: {
      package: 'name, normalised according to PEP 503',
      description: 'a line about it',
      skip: 'why none of its versions is built; null: they are',
      status: 'status of the project on the index, according to PEP 792',
      origin: 'who added it; the feed removes only what it has added',
      aliases: 'other spellings of the name',
      removed_at: 'when the index removed it',
      missing_since: 'since when its page is not found, while nothing else says that it was removed',
      removal_reported: 'an event said that it was removed, and its page was not seen since',
      page_serial: 'serial of the page with which its rows were last compared',
      list_serial: 'the same of the list of all releases',
      etag: 'of its page',
      fetched_at: 'when its page was last fetched',
    },
  },
  page_fetches: {
    text: 'Pages of projects on the index that are to be fetched.',
    columns: {
      urgent: 'before the others',
      not_before: 'later after each failed attempt',
      serial: 'an older page than this does not show the change yet',
    },
  },
  page_hits: {
    text: 'Requests for pages, partitioned by month.',
    columns: { kind: 'kind of the page', resource: 'the package or the address', ...CLIENT },
  },
  pages_backlog: {
    text: 'Pages of the site that are due. Whatever changes the contents of a page adds it in the same transaction; the Secretary removes it when it is written.',
    columns: {
      kind: 'what is to be written, e.g. `PKG`',
      argument: 'the package or the build',
      revision:
        'higher each time the page becomes due, so that whoever wrote an older state does not remove a newer request',
    },
  },
  paused_tasks: { text: 'The tasks that an administrator has paused.', columns: { task: '`*`: all tasks' } },
  published_files: {
    text: 'Every name under which a wheel was ever published. Lock files, caches and mirrors remember it with its hash, so no row is ever deleted.',
  },
  queue: {
    text: 'The build queue: one row for each build that is due. It is kept equal to the view `builds_pending` by `requeue()`.',
    columns: {
      priority: '0: backlog, 1: release of today, 2: request of an administrator',
      released: 'when the version was released',
      lease: 'number of the lease; null: it waits',
      slave_id: 'who holds the lease; null: nobody, the build is held back until `leased_until`',
      leased_until: 'when the lease expires',
      attempt: 'how often the build was granted, this time included',
    },
  },
  slaves: {
    text: 'The sessions of slaves.',
    columns: {
      nats_user: "the slave's user on NATS",
      session: 'token that the slave has chosen',
      label: 'display name',
      asleep: 'an order: it gets no work',
      kill: 'an order: BYE, `now` or `after` its build',
      set_aside: 'since when it is set aside because its failures stand out; null: it is not',
      set_aside_reason: 'why',
      suspect_after: 'while it is set aside, its failures above this build_id wait for confirmation',
    },
  },
  specifier_admits: { text: 'Which targets each Requires-Python admits, worked out by the program once.' },
  specifiers: { text: 'The texts of Requires-Python: few, and shared by many versions.' },
  tag_covers: { text: 'Which targets the wheels with these tags serve, worked out by the program once.' },
  tags: {
    text: 'The tags of wheels, each combination once.',
    columns: {
      reach:
        'kinds of Python that such a wheel serves of those that its tags admit: `all`, `pypy`, `free-threaded`',
    },
  },
  targets: {
    text: 'The targets: an ABI on a platform.',
    columns: {
      rank: 'order of the ABIs of a platform: CPython with a GIL by version, then free-threaded, then PyPy',
      skip: 'why nothing is built for it at present',
      filled_from:
        'the queue is filled for versions from this number on: 0, for all; the largest number, for none',
      leaving: 'it is deleted once no version is queued for it',
    },
  },
  versions: {
    text: 'The versions of packages.',
    columns: {
      version: 'as the project spells it',
      sort_key: 'sorts, byte by byte, according to PEP 440',
      sdist_url: 'address of the source distribution; null: unknown',
      specifier_id: 'its Requires-Python; null: any Python',
      skip: 'why it is not built; null: it is',
      yanked: 'the reason, which may be empty; null: it is not yanked',
      yank_kept: 'an administrator has yanked it, whatever the index says',
      origin: 'who added it; the feed removes only what it has added',
      priority: '0: backlog, 1: release of today, 2: request of an administrator',
      removed_at: 'when the index removed it',
      missing_since: 'since when its page does not list it, while nothing else says that it was removed',
    },
  },
};

export const VIEWS: Readonly<Record<string, string>> = {
  build_states:
    'The state of each version on each target: its row of the queue, its latest build, a file that serves the target, and what they add up to.',
  builds_pending:
    'The builds that should be queued. The [rule](queue.md#the-queue) is defined here; a test compares the table `queue` with it.',
  eligible_targets: 'Versions that may be built, each with the targets for which they could be.',
  figures_now: 'The figures: sums, and changes that are not summed up yet.',
  history_now: 'The history, in the same way. A step may have several rows.',
};

export const SEQUENCES: Readonly<Record<string, string>> = {
  leases: 'numbers of leases of builds',
  page_revisions: 'revisions of due pages',
  serials:
    'serials of pages in the simple index; the Secretary takes a thousand at a time, so that none is used twice',
};

export const FUNCTIONS: Readonly<Record<string, string>> = {
  add_downloads: 'Adds these numbers to the sums of downloads.',
  count_builds: 'Notes builds that have ended in `figure_changes`.',
  count_deleted_files: 'Notes deleted files in `figure_changes` and `package_files`.',
  count_downloads: 'Notes new downloads in `figure_changes`.',
  count_new_files: 'Notes new files in `figure_changes` and `package_files`.',
  count_queue: 'Notes rows of the queue that came or went in `figure_changes`.',
  count_rows: 'Notes rows that came or went in `figure_changes`, under the name of the figure.',
  delete_download_days: 'Deletes the downloads by day of a deleted package.',
  delete_downloads: 'Deletes the downloads of deleted files.',
  delete_files: 'Deletes the files of a version before the version.',
  delete_queue_rows: "Deletes a deleted version's rows of the queue.",
  delete_versions: 'Deletes the versions of a deleted package.',
  drop_log_months:
    "Drops the partitions of downloads and page hits of all months but the last `keep`, with the owner's rights. Returns how many.",
  lock_files:
    'Waits until nobody inserts downloads, so that none is inserted for a file that is being deleted.',
  lock_versions: 'Locks versions in the order of their ids, so that two transactions cannot deadlock.',
  log_builds:
    'Writes the results of builds, and says what became of each: see [`logBuilds()`](../src/database/builds.ts).',
  make_log_months:
    "Creates the partitions of downloads and page hits for these months and the next one, with the owner's rights.",
  mark_deleted_logs_due: "Marks a deleted build's log page as due, so that a Scribe deletes it.",
  page_priority: 'The priority with which pages of a kind are written.',
  queue_new_versions: 'Queues versions that were inserted in this transaction.',
  refresh_queue:
    "Makes the queue's rows of these versions equal to `builds_pending`; the caller has locked them.",
  requeue: 'Locks these versions, and refreshes their rows of the queue.',
  sum_up: 'Sums up at most so many rows of `figure_changes`. Returns how many.',
  wheel_stem: "The normalised project name and the version in a wheel's name, for an index.",
};
