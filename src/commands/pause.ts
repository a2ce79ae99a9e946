import { EXIT_CODES, natsFlags } from './base.js';
import { TaskOrderCommand, createControlClient, taskArgs } from './control.js';

export default class Pause extends TaskOrderCommand {
  static override summary = 'Pause the whole farm, or one of its tasks, until piw resume.';
  static override description = `A paused farm gives out no builds, writes no pages and takes no orders but
piw resume and piw quit; builds that slaves have begun are completed and kept.
The database remembers it: a task that starts later is paused, too.

${EXIT_CODES}`;
  static override examples = ['<%= config.bin %> pause', '<%= config.bin %> pause cloud-gazer'];
  static override args = taskArgs;
  static override flags = { ...natsFlags };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Pause);
    const task = this.taskToOrder(args.task);
    const bus = await this.connect(this.settings(flags));
    try {
      await createControlClient(bus).request('PAUSE', { task });
    } finally {
      await bus.drain();
    }
    this.log(
      task === '*'
        ? 'The farm is paused. piw resume lets it continue.'
        : `${task} is paused. piw resume ${task} lets it continue.`,
    );
    return { task: task === '*' ? null : task, paused: true };
  }
}
