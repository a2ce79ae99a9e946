import AbiAdd from './abi/add.js';
import AbiList from './abi/list.js';
import AbiRemove from './abi/remove.js';
import AbiSkip from './abi/skip.js';
import AbiUnskip from './abi/unskip.js';
import Actor from './actor.js';
import Add from './add.js';
import Farm from './farm.js';
import Feed from './feed.js';
import Import from './import.js';
import Initdb from './initdb.js';
import Logger from './logger.js';
import Master from './master.js';
import Monitor from './monitor.js';
import Queue from './queue.js';
import Rebuild from './rebuild.js';
import Remove from './remove.js';
import Slave from './slave.js';
import Web from './web.js';

/** Every command of piw, by its name. */
export const commands = {
  'abi:add': AbiAdd,
  'abi:list': AbiList,
  'abi:remove': AbiRemove,
  'abi:skip': AbiSkip,
  'abi:unskip': AbiUnskip,
  actor: Actor,
  add: Add,
  farm: Farm,
  feed: Feed,
  import: Import,
  initdb: Initdb,
  logger: Logger,
  master: Master,
  monitor: Monitor,
  queue: Queue,
  rebuild: Rebuild,
  remove: Remove,
  slave: Slave,
  web: Web,
};
