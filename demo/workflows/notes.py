"""What the first note of each workflow says. No inline code: it cannot be read on every theme's note."""

from __future__ import annotations

FIRST = """**First time**
1. Get the models: ComfyUI offers them when the workflow opens, the note below has links.
2. *Load Image*: your character. *Load Driving Video*: {video}.
3. Press **Run**. To try one segment first, set **limit** to 77.
"""
MOVEMENT = "the movement"
AGAIN = "**Run** pressed again after a stop goes on from the last finished segment."

START = {
    "animate": f"""Makes the character of your **picture** perform your **video**, in the picture's own scene, at any length. {AGAIN}

{FIRST.format(video=MOVEMENT)}
**What to change first**
- Several people in the video: **person** in *Detect Pose and Face*; its picture shows their numbers.
- The skeleton jitters or lags: **strength** in *Clean Pose*.
- The character is stretched or too small: the picture under *Retarget Pose* shows driver, character and result.
- A picture from the side: the workflow *Edited Pose*.
- More detail: **area width** and **area height** 1280 and 720 in *Load Driving Video*, which is an area; the video's shape is kept.
- Out of memory: the workflow *Low VRAM 8 GB*.
""",
    "replace": f"""Puts the character of your **picture** in the place of the person in your **video**, lit as the scene is. {AGAIN}

{FIRST.format(video="the video whose person is replaced")}
**What to change first**
- Several people in the video: **person** in *Detect Pose and Face*; its picture shows their numbers.
- The mask (green, under *Segment Character*) misses something: add points, a box, or raise **grow iterations** in *Shape Mask*.
- Wide clothes or hair need more room: **blocks across** and **blocks down** in *Shape Mask*, fewer blocks are larger ones.
- The person is small in a large video: the workflow *Small Person*.
- Out of memory: *Offload Animate Blocks* before *Accelerate*.
""",
    "replace_crop": f"""Puts the character of your **picture** in the place of the person in your **video**, working on a window around the person: for small people in large frames, up to 4K. The clip has the video's own size; away from the person every pixel is the video's.

{FIRST.format(video="the video; width and height there are only for finding pose and mask")}
**What to change first**
- The picture under *Crop to Character* shows the window, its report the cost. More detail: a larger **area width** and **area height** there, or **window sampled at** as the window is.
- More of the scene around the person: **margin**.
- A seam around the person: **feather** in *Stitch Character*.
- The old person shows at the edges: **grow iterations** in *Shape Mask*, or **grow** in *Stitch Character*.
""",
    "talking_head": f"""A portrait speaks and moves its head as the person in your **video** does; the video's sound stays. The detector needs no files and follows one person.

{FIRST.format(video="somebody speaking, head and shoulders")}
**What to change first**
- Expression too strong or too weak: **face strength** in *Pose and Face Strength*.
- The head wanders: **sideways motion** in *Retarget Pose* is none, so it stays where the picture has it; in picture lets it move.
- Eyebrows or chin are cut off in the face: **face scale** in *Crop Face*.
- Hands in the picture: *Load Pose Detector* in place of *Load MediaPipe Detector* finds them better.
""",
    "long_clip": f"""A clip of minutes: planned before the run, with seams that fade, colours that stay and a prompt for each part. {AGAIN}

{FIRST.format(video="a long one")}
**Choices**
- *Plan Clip* says segments, minutes, disk and memory, and what is wrong with the inputs. Run it alone first (the triangle in its menu).
- *Clip Options*: **crossfade frames** -1 fades each seam over the five **previous frames**. **segment seeds** 3:42 makes segment 3 again with seed 42.
- *Prompt for Frames*: the second prompt holds from frame 154 on; add one for each part.
- **color** anchor in *Animate Character* takes drift out. *Match Color* after it brings the whole to the look of a picture; **strength** 0 leaves the clip as it is.
- *Pose Report* lists frames where something was lost.
- *Save Clip* writes any format, a few frames at a time.
""",
    "low_vram": f"""For cards with 8 GB: all 40 blocks wait in the computer's memory (20 GB of it) and are copied while the one before computes.

{FIRST.format(video=MOVEMENT)}
**Choices**
- *Offload Animate Blocks*: **offload by** fit keeps as many blocks on the card as **card memory** allows; more on the card is faster where memory is slow.
- **segment length** is 49; 33 needs less. A smaller area in *Load Driving Video* saves more than anything else.
- A GGUF file: its own loader (ComfyUI-GGUF) in place of *Load Animate Model*; everything after it stays.
- The text encoder runs once for each new prompt, then *Cached Prompt* has it on disk.
""",
    "four_steps": f"""The fastest way to see a clip: four steps with the speed LoRA.

{FIRST.format(video=MOVEMENT)}
**Choices**
- **steps** 4 to 8: more steps, cleaner hands and faces. **cfg** stays 1: the LoRA is made for it, and above 1 every step takes twice as long.
- **sampler name** lcm; euler is calmer.
- Too stiff, or the face too strong: *Pose and Face Strength*.
- *Accelerate Animate Model*: **attention** auto is exact; auto (approximate too) is faster where a kernel for your card is there.
""",
    "edited_pose": f"""For pictures in which the body cannot be measured: from the side, seated, limbs hidden. An image-edit model turns both people into a plain standing pose; *Retarget Pose* measures those and moves the character in its own picture.

{FIRST.format(video=MOVEMENT)}
**Choices**
- *Edit Prompts* writes the words for both edits and picks the driver's clearest frame.
- Any edit model will do: replace the group *Edit* by its nodes. This one is Qwen Image Edit 2511 (20 GB and 9 GB).
- Look at both edited pictures: the whole person from head to feet, arms away from the body. If not, another **seed**.
""",
    "host_pose": """Replace with ComfyUI's own networks: **SDPose** finds the pose, **SAM 3** the mask. Every other pack's pose and mask goes in at the same places: POSE_KEYPOINT into *Keypoints to Pose*, a mask into *Mask to Frames*, a drawn skeleton as IMAGE into *Animate Character*.

**First time**
1. Get the models: ComfyUI offers them when the workflow opens, the note below has links.
2. *Load Image*: your character. *Load Driving Video*: the video whose person is replaced.
3. Press **Run**.

**Choices**
- *Frames to Image* reads the video into memory for those nodes: **limit** is 77 frames here. Ours read a segment at a time, at any length.
- SAM 3 follows what it is told: the outline of the pose in the first frame (*Mask from Pose*); or words, through a *CLIP Text Encode* on its conditioning.
- *Save Pose Track* keeps the pose for the workflow *Saved Pose*.
""",
    "saved_pose": """Replace without any detector or text encoder: the pose from a saved track, the mask drawn around it, the prompt from disk. For many characters on one video, and for servers without those files.

**First time**
1. Save what it reads: *Save Pose Track* (workflow *SDPose and SAM3*, or behind any pose) and *Cached Prompt* write them.
2. Choose them in *Load Pose Track* and *Load Saved Prompt*.
3. *Load Image*: your character. *Load Driving Video*: the video of the track. **Run**.

**Choices**
- *Edit Pose*: run it alone to look at the pose; drag a keypoint that is wrong.
- *Mask from Pose*: **thickness** for wide clothes and hair.
- The skeleton here is drawn by ComfyUI's *SDPose Draw Keypoints* from the track, as another pack would bring it: *Image to Frames* makes FRAMES of it. *Draw Pose* draws the one the model was trained on.
""",
    "more_frames": """A finished clip at 60 frames a second and 1080p, by ComfyUI's own interpolation and upscaling models. A frame or two are in memory at a time, of any length.

**First time**
1. Get the models: ComfyUI offers them when the workflow opens, the note below has links. FILM and any other upscaling model work too.
2. *Load Driving Video*: the clip that is to be finished. **Run**.

**Choices**
- **fps** in *Interpolate Frames*: a multiple of the clip's keeps all of its frames.
- **short side** in *Upscale Frames*: 1080 for full HD, 0 for what the model makes. Bypass one of the two to have only the other.
- Straight from a run: *Animate Character*'s **frames** into *Interpolate Frames*.
- **format** in *Save Clip*: ProRes for editing, AV1 and H.265 for small files.
""",
}
