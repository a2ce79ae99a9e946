import { PiwError } from '../errors.js';
import { EXIT_CODES, natsFlags } from './base.js';
import { TaskOrderCommand, createControlClient, fetchPausedTasks, taskArgs } from './control.js';

export default class Resume extends TaskOrderCommand {
  static override summary = 'Let the farm, or one of its tasks, continue after piw pause.';
  static override description = `Without a task, everything that is paused continues.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> resume', '<%= config.bin %> resume cloud-gazer'];
  static override args = taskArgs;
  static override flags = { ...natsFlags };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Resume);
    const task = this.taskToOrder(args.task);
    const bus = await this.connect(this.settings(flags));
    let paused: readonly string[];
    try {
      paused = await fetchPausedTasks(bus);
      if (task !== '*' && paused.includes('*'))
        throw new PiwError('PIW_REFUSED', 'all tasks are paused together; run piw resume without a task');
      await createControlClient(bus).request('RESUME', { task });
    } finally {
      await bus.drain();
    }
    const wasPaused = task === '*' ? paused.length > 0 : paused.includes(task);
    const name = task === '*' ? 'The farm' : task;
    this.log(wasPaused ? `${name} continues.` : `${name} was not paused.`);
    return { task: task === '*' ? null : task, paused: false, was_paused: wasPaused };
  }
}
